"""What uwsgi.ini imports: end what runs when uWSGI ends."""

import uwsgi

import tinytracer

uwsgi.atexit = tinytracer.application.close
