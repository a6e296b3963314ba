"""Send traces to OTEL_EXPORTER_OTLP_ENDPOINT, by OpenTelemetry's protocol over HTTP.

Imported only where that is set. The library reads it, and its other variables (OTEL_…), by itself.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from packages_site.version import VERSION
from workspaces.tracing import trace_with


def start_tracing(part: str) -> None:
    """Send the spans of this process, which is such a part of Taglock, from a thread of its own."""
    trace_with(OtlpTracing(part, BatchSpanProcessor(OTLPSpanExporter())))


class OtlpSpan:
    """A span of OpenTelemetry's."""

    def __init__(self, span: Span, headers: Mapping[str, str]) -> None:
        self._span = span
        self.headers = headers

    def describe(
        self, attributes: Mapping[str, str | int], *, name: str = "", failed: bool = False
    ) -> None:
        """Say what it was; without a name it keeps that which it began with."""
        if name:
            self._span.update_name(name)
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(StatusCode.ERROR)


class OtlpTracing:
    """Spans that a processor of OpenTelemetry's gets."""

    def __init__(self, part: str, processor: SpanProcessor) -> None:
        resource = Resource.create({"service.name": f"taglock-{part}", "service.version": VERSION})
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("taglock", VERSION)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def serve(self, name: str, headers: Mapping[str, str]) -> Iterator[OtlpSpan]:
        """Answer a request, whose headers may say of which trace it is a part."""
        context = self._propagator.extract(headers)
        with self._tracer.start_as_current_span(name, context, SpanKind.SERVER) as span:
            yield OtlpSpan(span, {})

    @contextmanager
    def call(self, name: str) -> Iterator[OtlpSpan]:
        """Call another server."""
        with self._tracer.start_as_current_span(name, kind=SpanKind.CLIENT) as span:
            headers: dict[str, str] = {}
            self._propagator.inject(headers)
            yield OtlpSpan(span, headers)
