"""What a run found, told to experiment trackers through their own clients."""
