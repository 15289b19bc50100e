//! Secrets of the configuration from a real OpenBao: by token and by role, changed, revoked, sealed and gone, over mutual TLS.

use std::path::Path;
use std::sync::Arc;

use hub::secrets::vault::{Login, Vault, VaultError};
use hub::secrets::{SecretError, Sources};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::{Value, json};
use testbed_services::{MutualTls, OpenBao, to_stderr};

const POLICY: &str =
    r#"path "secret/data/hub/*" { capabilities = ["read"] } path "old/hub/*" { capabilities = ["read"] }"#;

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn put(bao: &OpenBao, path: &str, key: &str, value: &str) {
    let data = json!({ "data": { key: value } });
    bao.call("POST", &format!("secret/data/{path}"), data).expect("written");
}

/// A role that reads what is the hub's; each secret id is good for as many logins as it says.
fn role(bao: &OpenBao, logins: u32) -> Login {
    let call = |path: &str, body: Value| bao.call("POST", path, body).expect("done");
    call("sys/policies/acl/hub", json!({ "policy": POLICY }));
    call("sys/auth/approle", json!({ "type": "approle" }));
    let settings =
        json!({ "token_policies": ["hub"], "token_ttl": "3s", "token_max_ttl": "1h", "secret_id_num_uses": logins });
    call("auth/approle/role/hub", settings);
    let id = bao
        .call("GET", "auth/approle/role/hub/role-id", Value::Null)
        .expect("an id");
    let secret = call("auth/approle/role/hub/secret-id", json!({}));
    Login::AppRole {
        role: text(&id["data"]["role_id"]),
        secret: text(&secret["data"]["secret_id"]),
    }
}

fn plain(bao: &OpenBao, login: Login) -> Vault {
    Vault::new(&bao.address(), login, None, None).expect("settings")
}

#[test]
fn a_secret_is_read_by_token_from_both_versions_of_the_engine() {
    let bao = OpenBao::start("vault-token", None, &to_stderr).expect("an OpenBao");
    put(&bao, "hub/forge", "token", "s3cret-1");
    bao.call(
        "POST",
        "sys/mounts/old",
        json!({ "type": "kv", "options": { "version": "1" } }),
    )
    .expect("mounted");
    bao.call("POST", "old/hub/forge", json!({ "token": "s3cret-of-old" }))
        .expect("written");
    let vault = plain(&bao, Login::Token(bao.root_token().to_owned()));
    let sources = Sources::with(Arc::new(vault));
    assert_eq!(sources.read("vault:secret/hub/forge#token").expect("there"), "s3cret-1");
    assert_eq!(
        sources.read("vault:old/hub/forge#token").expect("there"),
        "s3cret-of-old"
    );
    put(&bao, "hub/forge", "token", "s3cret-2");
    assert_eq!(sources.read("vault:secret/hub/forge#token").expect("there"), "s3cret-2");
    for (reference, part) in [
        ("vault:secret/hub/other#token", "has no"),
        ("vault:secret/hub/forge#other", "has no"),
        ("vault:secret#token", "names no secret"),
        ("vault:secret/hub/forge", "names no secret"),
        ("vault:secret/../sys/x#token", "names no secret"),
    ] {
        let told = chain(&sources.read(reference).expect_err(reference));
        assert!(told.contains(part) && !told.contains("s3cret"), "{told}");
    }
    let wrong = plain(&bao, Login::Token("hvs.not-ours".to_owned()));
    let told = wrong.read("secret/hub/forge#token").expect_err("refused").to_string();
    assert!(
        told.contains("does not accept the token") && !told.contains("not-ours"),
        "{told}"
    );
}

#[test]
fn a_role_logs_in_again_when_its_token_ends_and_reads_no_more_than_it_may() {
    let bao = OpenBao::start("vault-role", None, &to_stderr).expect("an OpenBao");
    put(&bao, "hub/forge", "token", "s3cret");
    put(&bao, "others", "token", "not yours");
    let vault = plain(&bao, role(&bao, 0));
    assert_eq!(vault.read("secret/hub/forge#token").expect("there"), "s3cret");
    assert!(matches!(
        vault.read("secret/others#token"),
        Err(VaultError::Denied { .. })
    ));
    // Its token is revoked behind its back.
    bao.call("POST", "auth/token/revoke-orphan", json!({})).err();
    bao.call("POST", "sys/leases/revoke-prefix/auth/approle", json!({}))
        .expect("revoked");
    assert_eq!(vault.read("secret/hub/forge#token").expect("there"), "s3cret");
    vault.renew().expect("nothing is due");
}

#[test]
fn a_vault_that_is_sealed_or_gone_says_so_and_is_there_again_afterwards() {
    let mut bao = OpenBao::start("vault-sealed", None, &to_stderr).expect("an OpenBao");
    put(&bao, "hub/forge", "token", "s3cret");
    let vault = plain(&bao, role(&bao, 0));
    let read = || vault.read("secret/hub/forge#token");
    assert!(read().is_ok());
    bao.seal().expect("sealed");
    assert!(matches!(read(), Err(VaultError::Sealed { .. })));
    bao.kill();
    assert!(matches!(read(), Err(VaultError::Unreachable { .. })));
    bao.restart().expect("started");
    assert!(matches!(read(), Err(VaultError::Sealed { .. })), "it starts sealed");
    bao.unseal().expect("unsealed");
    assert_eq!(read().expect("there again"), "s3cret");
}

#[test]
fn a_secret_id_that_is_used_up_says_what_to_do() {
    let bao = OpenBao::start("vault-once", None, &to_stderr).expect("an OpenBao");
    put(&bao, "hub/forge", "token", "s3cret");
    let login = role(&bao, 1);
    assert!(plain(&bao, login.clone()).read("secret/hub/forge#token").is_ok());
    let told = plain(&bao, login)
        .read("secret/hub/forge#token")
        .expect_err("used up")
        .to_string();
    assert!(told.contains("a new secret id"), "{told}");
}

#[test]
fn both_sides_show_a_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    certificates(folder.path());
    let tls = MutualTls {
        ca: path("ca.pem"),
        certificate: path("server.pem"),
        key: path("server.key"),
    };
    let bao = OpenBao::start("vault-tls", Some((&tls, agent(folder.path()))), &to_stderr).expect("an OpenBao");
    put(&bao, "hub/forge", "token", "s3cret");
    let login = || Login::Token(bao.root_token().to_owned());
    let ours = Vault::new(&bao.address(), login(), None, Some(folder.path())).expect("settings");
    assert_eq!(ours.read("secret/hub/forge#token").expect("there"), "s3cret");
    // A folder without a certificate of ours, and no folder at all.
    std::fs::remove_file(path("certificate.pem")).expect("it is there");
    let nameless = Vault::new(&bao.address(), login(), None, Some(folder.path())).expect("settings");
    assert!(matches!(
        nameless.read("secret/hub/forge#token"),
        Err(VaultError::Unreachable { .. })
    ));
    let stranger = Vault::new(&bao.address(), login(), None, None).expect("settings");
    assert!(matches!(
        stranger.read("secret/hub/forge#token"),
        Err(VaultError::Unreachable { .. })
    ));
}

/// A CA, a certificate of the server and one of its client.
fn certificates(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("room");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA");
    write("ca.pem", ca.pem());
    for (name, key, purpose) in [
        ("server.pem", "server.key", ExtendedKeyUsagePurpose::ServerAuth),
        ("certificate.pem", "key.pem", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let pair = KeyPair::generate().expect("a key");
        let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        leaf.extended_key_usages = vec![purpose];
        let leaf = leaf.signed_by(&pair, &ca).expect("signed");
        write(name, leaf.pem());
        write(key, pair.serialize_pem());
    }
}

/// A client for the test's own calls.
fn agent(folder: &Path) -> ureq::Agent {
    use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
    let read = |name: &str| std::fs::read(folder.join(name)).expect("there");
    let ca = Certificate::from_pem(&read("ca.pem")).expect("PEM");
    let own = Certificate::from_pem(&read("certificate.pem")).expect("PEM");
    let key = PrivateKey::from_pem(&read("key.pem")).expect("PEM");
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from(vec![ca]))
        .client_cert(Some(ClientCert::new_with_certs(&[own], key)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false);
    config.build().into()
}

fn chain(error: &SecretError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
