"""How fast the library is, beside eager NumPy and beside what the processor can do."""
