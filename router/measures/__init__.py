"""What is measured of a target: counts in a window, quantiles, an average that remembers peaks. Time is an argument."""
