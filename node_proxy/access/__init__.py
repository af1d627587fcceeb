"""Who is calling: wallet logins and the API keys that they give out."""
