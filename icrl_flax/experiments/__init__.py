"""Many runs from one specification, and the tables that they make."""
