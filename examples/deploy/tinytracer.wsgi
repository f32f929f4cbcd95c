"""What mod_wsgi starts, see apache-wsgi.conf; the configuration's path stands here, for Apache passes none on."""

import os

import mod_wsgi

os.environ.setdefault("TINYTRACER_CONFIG", "/etc/tinytracer/config.json")

from tinytracer import application

# What runs is ended when Apache stops, and not only after the requests in progress.
mod_wsgi.subscribe_shutdown(lambda *event, **more: application.close())
