"""What is found, what is wrong, what to do. It looks and changes nothing."""
