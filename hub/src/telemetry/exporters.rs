//! Builds the exporters of `opentelemetry-otlp` from the settings. Everything about their wire is theirs.

use std::path::Path;

use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol as Wire, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::LogExporter as _;
use opentelemetry_sdk::trace::SpanExporter as _;

use super::settings::{OtlpError, Protocol, Signal};

/// Sends log records.
pub fn log_exporter(signal: &Signal, resource: &Resource) -> Result<LogExporter, OtlpError> {
    let builder = LogExporter::builder();
    let mut exporter = match signal.protocol {
        Protocol::Grpc => grpc(builder.with_tonic().with_endpoint(&signal.endpoint), signal)?.build(),
        Protocol::Http => builder
            .with_http()
            .with_http_client(http_client(signal)?)
            .with_protocol(Wire::HttpBinary)
            .with_endpoint(&signal.endpoint)
            .build(),
    }
    .map_err(refused(signal))?;
    exporter.set_resource(resource);
    Ok(exporter)
}

/// Sends spans.
pub fn span_exporter(signal: &Signal, resource: &Resource) -> Result<SpanExporter, OtlpError> {
    let builder = SpanExporter::builder();
    let mut exporter = match signal.protocol {
        Protocol::Grpc => grpc(builder.with_tonic().with_endpoint(&signal.endpoint), signal)?.build(),
        Protocol::Http => builder
            .with_http()
            .with_http_client(http_client(signal)?)
            .with_protocol(Wire::HttpBinary)
            .with_endpoint(&signal.endpoint)
            .build(),
    }
    .map_err(refused(signal))?;
    exporter.set_resource(resource);
    Ok(exporter)
}

/// Sends metrics; the resource travels with them.
pub fn metric_exporter(signal: &Signal) -> Result<MetricExporter, OtlpError> {
    let builder = MetricExporter::builder();
    match signal.protocol {
        Protocol::Grpc => grpc(builder.with_tonic().with_endpoint(&signal.endpoint), signal)?.build(),
        Protocol::Http => builder
            .with_http()
            .with_http_client(http_client(signal)?)
            .with_protocol(Wire::HttpBinary)
            .with_endpoint(&signal.endpoint)
            .build(),
    }
    .map_err(refused(signal))
}

fn refused(signal: &Signal) -> impl FnOnce(ExporterBuildError) -> OtlpError {
    let endpoint = signal.endpoint.clone();
    move |error| OtlpError::Exporter {
        endpoint,
        reason: error.to_string(),
    }
}

/// With TLS where the endpoint asks for it.
fn grpc<B: WithTonicConfig>(builder: B, signal: &Signal) -> Result<B, OtlpError> {
    if !signal.endpoint.starts_with("https://") {
        return Ok(builder);
    }
    let mut tls = ClientTlsConfig::new();
    tls = match &signal.ca {
        Some(path) => tls.ca_certificate(Certificate::from_pem(file("OTEL_EXPORTER_OTLP_CERTIFICATE", path)?)),
        None => tls.with_native_roots(),
    };
    if let Some((certificate, key)) = &signal.identity {
        let certificate = file("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate)?;
        tls = tls.identity(Identity::from_pem(
            certificate,
            file("OTEL_EXPORTER_OTLP_CLIENT_KEY", key)?,
        ));
    }
    Ok(builder.with_tls_config(tls))
}

fn http_client(signal: &Signal) -> Result<reqwest::Client, OtlpError> {
    let refused = |error: reqwest::Error| OtlpError::Exporter {
        endpoint: signal.endpoint.clone(),
        reason: crate::http::chained(&error),
    };
    let mut client = crate::https::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT);
    if let Some(path) = &signal.ca {
        let pem = file("OTEL_EXPORTER_OTLP_CERTIFICATE", path)?;
        let ca = reqwest::Certificate::from_pem_bundle(&pem).map_err(refused)?;
        client = client.tls_certs_only(ca);
    }
    if let Some((certificate, key)) = &signal.identity {
        let mut pem = file("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate)?;
        pem.push(b'\n');
        pem.extend(file("OTEL_EXPORTER_OTLP_CLIENT_KEY", key)?);
        client = client.identity(reqwest::Identity::from_pem(&pem).map_err(refused)?);
    }
    client.build().map_err(refused)
}

/// Longest wait for a Collector's answer by HTTP: the specification's default.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

fn file(variable: &'static str, path: &Path) -> Result<Vec<u8>, OtlpError> {
    std::fs::read(path).map_err(|cause| OtlpError::File {
        variable,
        path: path.to_owned(),
        cause,
    })
}
