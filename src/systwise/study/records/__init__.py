"""What a study found, as stored records."""
