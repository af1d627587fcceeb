"""Every parser of text from strangers, given anything."""
