"""What few seeds and some prompts let one say: intervals, paired tests, families of tests, fitted curves."""
