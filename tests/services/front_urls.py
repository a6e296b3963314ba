"""The addresses of gate and site in one process, with what the edge asks."""

from django.urls import path

from containers.tokens.edge import answer_edge
from packages_site import urls

urlpatterns = [path("edge-access", answer_edge), *urls.urlpatterns]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500
