"""Commands that check something: one file each."""
