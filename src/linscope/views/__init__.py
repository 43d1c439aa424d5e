"""Tables -> pictures, one file a view."""
