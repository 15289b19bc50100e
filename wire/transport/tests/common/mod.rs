//! A certificate authority, frames and small waits for the transport's tests.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(missing_docs, clippy::unwrap_used)]

pub mod fabric;

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use wire::frame::{Ack, Entries, Frame, TelemetryBlock};
use wire::ids::{Epoch, Seq};
use wire::time::Wall;
use wire_transport::{CertificateClock, ClientTls, Leaf, ServerTls, Timing, Trust};

pub const DOMAIN: &str = "test.sentinel";

/// A certificate authority that issues whatever a test asks for.
pub struct Ca {
    pub der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a test wants in a certificate.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    pub uris: &'a [&'a str],
    pub usage: Option<ExtendedKeyUsagePurpose2>,
    /// First and last year.
    pub years: (i32, i32),
}

/// `rcgen::ExtendedKeyUsagePurpose` is not `Copy`.
#[derive(Clone, Copy)]
pub enum ExtendedKeyUsagePurpose2 {
    Client,
    Server,
}

pub const CLIENT: Option<ExtendedKeyUsagePurpose2> = Some(ExtendedKeyUsagePurpose2::Client);
pub const SERVER: Option<ExtendedKeyUsagePurpose2> = Some(ExtendedKeyUsagePurpose2::Server);
pub const ALWAYS: (i32, i32) = (2020, 2120);
pub const PAST: (i32, i32) = (2020, 2021);

impl Ca {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let der = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { der, issuer }
    }

    pub fn trust(&self) -> Trust {
        Trust {
            ca: vec![self.der.clone()],
            trust_domain: DOMAIN.to_owned(),
        }
    }

    pub fn issue(&self, wanted: Wanted<'_>) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(wanted.years.0, 1, 1);
        params.not_after = date_time_ymd(wanted.years.1, 1, 1);
        params.subject_alt_names = wanted
            .uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()))
            .collect();
        params.extended_key_usages = match wanted.usage {
            Some(ExtendedKeyUsagePurpose2::Client) => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Some(ExtendedKeyUsagePurpose2::Server) => vec![ExtendedKeyUsagePurpose::ServerAuth],
            None => vec![],
        };
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            chain: vec![certificate.der().clone(), self.der.clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    pub fn agent(&self, name: &str) -> Leaf {
        self.issue(Wanted {
            uris: &[&format!("spiffe://{DOMAIN}/agent/{name}")],
            usage: CLIENT,
            years: ALWAYS,
        })
    }

    pub fn hub(&self) -> Leaf {
        self.issue(Wanted {
            uris: &[&format!("spiffe://{DOMAIN}/hub")],
            usage: SERVER,
            years: ALWAYS,
        })
    }

    pub fn server_tls(&self) -> ServerTls {
        ServerTls::new(self.hub(), self.trust(), &clock()).unwrap()
    }

    pub fn client_tls(&self, name: &str) -> ClientTls {
        ClientTls::session(self.agent(name), self.trust(), &clock()).unwrap()
    }
}

pub fn clock() -> CertificateClock {
    CertificateClock::new(Wall(0))
}

/// Short, so that a test of silence ends soon.
pub fn timing() -> Timing {
    Timing {
        connect: Duration::from_secs(5),
        ..Timing::default()
    }
}

pub fn entries(first: u64) -> Frame {
    Frame::Entries(Entries {
        epoch: Epoch(1),
        first: Seq(first),
        raw: vec![vec![first as u8; 300]],
    })
}

pub fn ack(seq: u64) -> Frame {
    Frame::Ack(Ack {
        epoch: Epoch(1),
        entries: Some(Seq(seq)),
        telemetry: None,
    })
}

pub fn telemetry(seq: u64, length: usize) -> Frame {
    Frame::Telemetry(TelemetryBlock {
        epoch: Epoch(1),
        seq: Seq(seq),
        // Neither constant nor random, so that packing does something.
        block: (0..length).map(|i| ((i * i) >> 7) as u8).collect(),
    })
}

/// The number that the functions above put into a frame.
pub fn number(frame: &Frame) -> u64 {
    match frame {
        Frame::Entries(entries) => entries.first.0,
        Frame::Ack(ack) => ack.entries.unwrap().0,
        Frame::Telemetry(block) => block.seq.0,
        other => panic!("not one of ours: {other:?}"),
    }
}
