"""Programs to be traced: each makes known VMAs, says which, and forks when told."""
