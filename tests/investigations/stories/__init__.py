"""What was found, told to a person: sections of lines, 80 columns wide."""
