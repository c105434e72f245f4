"""What else brings the same objects about: the programs that the figures are held against."""
