"""Is the small model faster?"""
