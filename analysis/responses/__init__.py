"""What policies say: answers to the same prompt side by side."""
