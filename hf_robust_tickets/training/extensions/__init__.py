"""What single methods need beside delta: a first layer, a critic, averaged weights, a cache."""
