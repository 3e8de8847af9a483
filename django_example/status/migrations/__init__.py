"""How the tables came to be; `manage.py migrate` makes them so."""
