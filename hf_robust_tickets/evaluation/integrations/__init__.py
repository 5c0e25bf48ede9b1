"""The libraries around: `evaluate`."""
