"""Events through an observable into numbered bins."""
