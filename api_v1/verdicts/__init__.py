"""What a run's state is: the rule, deriving it, and how what is stored stays right."""
