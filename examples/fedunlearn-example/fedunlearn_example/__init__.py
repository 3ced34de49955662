"""An unlearning method for fedunlearn, in a package of its own."""
