"""The HTTP edge. Knows HTTP and the one error table; decides nothing about routing."""
