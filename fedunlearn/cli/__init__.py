"""The commands fedunlearn, fedunlearn-report and fedunlearn-store."""
