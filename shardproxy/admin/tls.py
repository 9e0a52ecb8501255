"""TLS of the admin API: Python's own, as its HTTP server is Python's."""

from __future__ import annotations

import ssl

from shardproxy.config.files import FilesRead
from shardproxy.config.tls import ClientCertificate, Tls, TlsVersion
from shardproxy.dataplane.tls import TlsError, TlsSettings

VERSIONS = {TlsVersion.TLS12: ssl.TLSVersion.TLSv1_2, TlsVersion.TLS13: ssl.TLSVersion.TLSv1_3}


def context_read(config: Tls | None, files: FilesRead) -> ssl.SSLContext | None:
    """Read the certificate now; raise TlsError that names the file and what is wrong with it."""
    if config is None:
        return None
    settings = TlsSettings.read(config, files)  # says what is wrong better than ssl does
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[config.minimum]
    certificate, key = next(config.pairs)
    try:
        context.load_cert_chain(files.note(certificate), files.note(key))
        if settings.client_ca is not None:
            context.load_verify_locations(cadata=settings.client_ca)
            is_required = config.asks_client is ClientCertificate.REQUIRED
            context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        raise TlsError((f"{certificate}: {error}",)) from error
    return context
