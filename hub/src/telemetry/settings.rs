//! The environment variables of OpenTelemetry that say what is exported, where to, and by which protocol.
//!
//! Decides only what is wanted; headers, timeouts and compression are read from the same environment by the exporters themselves.
//! Source: OpenTelemetry's environment variable specification and its OTLP exporter specification 1.9.

use std::path::PathBuf;
use std::time::Duration;

/// Time between two exports of metrics, by the specification.
const EVERY_MS: u64 = 60_000;

/// What is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where logs go.
    pub logs: Option<Signal>,
    /// Where metrics go.
    pub metrics: Option<Signal>,
    /// Where traces go.
    pub traces: Option<Signal>,
    /// Time between two exports of metrics.
    pub every: Duration,
    /// Attributes of the resource beside the hub's own.
    pub attributes: Vec<(String, String)>,
}

/// Where one kind of telemetry goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// By which protocol.
    pub protocol: Protocol,
    /// A URL; for HTTP the whole of it.
    pub endpoint: String,
    /// CA of the Collector (PEM); the system's if there is none.
    pub ca: Option<PathBuf>,
    /// Certificate and key for mutual TLS (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How a Collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC, usually port 4317.
    Grpc,
    /// HTTP with protobuf, usually port 4318.
    Http,
}

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// A variable has a value that means nothing here.
    #[error("{variable} is `{value}`: {rule}")]
    Variable {
        /// Which variable.
        variable: String,
        /// Its value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// A file that a variable names cannot be read.
    #[error("cannot read `{path}`, which {variable} names")]
    File {
        /// Which variable.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The exporter refuses the settings.
    #[error("cannot export to `{endpoint}`: {reason}")]
    Exporter {
        /// Where.
        endpoint: String,
        /// Why not.
        reason: String,
    },
}

impl Settings {
    /// Reads the environment through `variable`. `None`: nothing is to be exported.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, OtlpError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if is(&set, "OTEL_SDK_DISABLED", "true") {
            return Ok(None);
        }
        let settings = Self {
            logs: signal(&set, "LOGS", "logs")?,
            metrics: signal(&set, "METRICS", "metrics")?,
            traces: signal(&set, "TRACES", "traces")?,
            every: Duration::from_millis(number(&set, "OTEL_METRIC_EXPORT_INTERVAL", EVERY_MS)?),
            attributes: attributes(&set),
        };
        let any = settings.logs.is_some() || settings.metrics.is_some() || settings.traces.is_some();
        Ok(any.then_some(settings))
    }
}

type Set<'a> = &'a dyn Fn(&str) -> Option<String>;

fn is(set: Set<'_>, name: &str, wanted: &str) -> bool {
    set(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
}

/// The variable of one signal alone, or else the one for all: its name and its value.
fn either(set: Set<'_>, signal: &str, what: &str) -> Option<(String, String)> {
    let (own, all) = (
        format!("OTEL_EXPORTER_OTLP_{signal}_{what}"),
        format!("OTEL_EXPORTER_OTLP_{what}"),
    );
    [own, all]
        .into_iter()
        .find_map(|name| Some((name.clone(), set(&name)?)))
}

fn signal(set: Set<'_>, signal: &str, path: &str) -> Result<Option<Signal>, OtlpError> {
    let Some((name, endpoint)) = either(set, signal, "ENDPOINT") else {
        return Ok(None);
    };
    if is(set, &format!("OTEL_{signal}_EXPORTER"), "none") {
        return Ok(None);
    }
    let protocol = match either(set, signal, "PROTOCOL") {
        None => Protocol::Http,
        Some((_, value)) if value == "http/protobuf" => Protocol::Http,
        Some((_, value)) if value == "grpc" => Protocol::Grpc,
        Some((variable, value)) => {
            return Err(OtlpError::Variable {
                variable,
                value,
                rule: "write `grpc` or `http/protobuf`",
            });
        }
    };
    let insecure = either(set, signal, "INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
    let is_general = name == "OTEL_EXPORTER_OTLP_ENDPOINT";
    let endpoint = match protocol {
        Protocol::Grpc if !endpoint.contains("://") => {
            format!("{}://{endpoint}", if insecure { "http" } else { "https" })
        }
        Protocol::Http if is_general => format!("{}/v1/{path}", endpoint.trim_end_matches('/')),
        Protocol::Grpc | Protocol::Http => endpoint,
    };
    if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
        return Err(OtlpError::Variable {
            variable: name,
            value: endpoint,
            rule: "write http://HOST:PORT or https://HOST:PORT",
        });
    }
    let file = |what| either(set, signal, what).map(|(_, path)| PathBuf::from(path));
    Ok(Some(Signal {
        protocol,
        endpoint,
        ca: file("CERTIFICATE"),
        identity: file("CLIENT_CERTIFICATE").zip(file("CLIENT_KEY")),
    }))
}

fn number(set: Set<'_>, name: &str, default: u64) -> Result<u64, OtlpError> {
    let Some(value) = set(name) else {
        return Ok(default);
    };
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(OtlpError::Variable {
            variable: name.to_owned(),
            value,
            rule: "write milliseconds, at least 1",
        }),
    }
}

/// `a=b,c=d`, and the service's name, which goes before.
fn attributes(set: Set<'_>) -> Vec<(String, String)> {
    let text = set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let mut attributes: Vec<(String, String)> = pairs
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    if let Some(service) = set("OTEL_SERVICE_NAME") {
        attributes.retain(|(name, _)| name != "service.name");
        attributes.push(("service.name".to_owned(), service));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Settings>, OtlpError> {
        let pairs: Vec<(&str, &str)> = text
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .collect();
        Settings::read(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn endpoints(text: &str) -> [Option<(Protocol, String)>; 3] {
        let settings = read(text).expect("valid").expect("something is exported");
        [settings.logs, settings.metrics, settings.traces].map(|signal| signal.map(|it| (it.protocol, it.endpoint)))
    }

    #[test]
    fn one_endpoint_serves_all_three() {
        let http = |path: &str| Some((Protocol::Http, format!("http://c:4318/v1/{path}")));
        let all = [http("logs"), http("metrics"), http("traces")];
        assert_eq!(endpoints("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"), all);
        assert_eq!(endpoints("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318/"), all);
        let grpc = Some((Protocol::Grpc, "http://c:4317".to_owned()));
        assert_eq!(
            endpoints("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
            [grpc.clone(), grpc.clone(), grpc.clone()]
        );
        assert_eq!(
            endpoints(
                "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=c:4317 OTEL_EXPORTER_OTLP_INSECURE=true OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
            ),
            [grpc, None, None]
        );
    }

    #[test]
    fn a_signal_may_go_elsewhere_or_nowhere() {
        let text = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://t/x OTEL_METRICS_EXPORTER=none";
        let [logs, metrics, traces] = endpoints(text);
        assert_eq!(logs, Some((Protocol::Http, "http://c:4318/v1/logs".to_owned())));
        assert_eq!(metrics, None);
        assert_eq!(
            traces,
            Some((Protocol::Http, "https://t/x".to_owned())),
            "as it is written"
        );
    }

    #[test]
    fn nothing_is_exported_unless_somebody_asks_for_it() {
        for text in [
            "",
            "OTEL_SERVICE_NAME=x",
            "OTEL_SDK_DISABLED=true OTEL_EXPORTER_OTLP_ENDPOINT=http://c",
        ] {
            assert_eq!(read(text).expect("valid"), None, "{text}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_variable_and_the_way_out() {
        let check = |text: &str, part: &str| {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        };
        let http = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c ";
        check(
            &format!("{http}OTEL_EXPORTER_OTLP_PROTOCOL=http/json"),
            "OTEL_EXPORTER_OTLP_PROTOCOL is `http/json`: write `grpc` or",
        );
        check("OTEL_EXPORTER_OTLP_ENDPOINT=ftp://c", "write http://HOST:PORT");
        check(&format!("{http}OTEL_METRIC_EXPORT_INTERVAL=0"), "at least 1");
    }

    #[test]
    fn the_environment_names_the_service() {
        let text =
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c OTEL_RESOURCE_ATTRIBUTES=a=b,service.name=x OTEL_SERVICE_NAME=y";
        let settings = read(text).expect("valid").expect("exported");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings.attributes, [pair("a", "b"), pair("service.name", "y")]);
    }
}
