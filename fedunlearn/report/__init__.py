"""Tables and figures, rebuilt from run folders alone; nothing here trains, and nothing here is needed to train."""
