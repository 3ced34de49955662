"""An audit for fedunlearn, in a package of its own."""
