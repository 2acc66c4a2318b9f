"""Which target next: filter, score, pick. Pure functions over what is known now."""
