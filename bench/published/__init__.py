"""Published results, reproduced through the unchanged gateway on the virtual clock: an experiment a module, and its picture."""
