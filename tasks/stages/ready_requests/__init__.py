"""Files of ready requests: what they ask of whom, and how they are posted, brought back into order and given back."""
