"""What is special to Azure."""
