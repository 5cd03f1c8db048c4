"""Tables, pictures and pages of what runs came to, made from the files of their directories."""
