"""A network looking glass: the rooms behind the WSGI callable, each with one job; imports go downwards."""
