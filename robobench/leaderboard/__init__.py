"""From rows to a leaderboard and its renderings."""
