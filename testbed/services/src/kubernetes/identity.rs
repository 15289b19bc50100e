//! Who is who in one control plane: its certificate authority, the server's certificate, the key of service accounts, and tokens.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::{API_USERS, write};
use crate::ServiceError;

/// What clients need to know.
#[derive(Debug)]
pub struct Identity {
    authority_pem: String,
    tokens: Vec<(&'static str, String)>,
}

impl Identity {
    /// Makes keys, certificates and tokens, and writes what the server needs to `folder`.
    pub fn make(folder: &Path) -> Result<Self, ServiceError> {
        let refused = |cause: rcgen::Error| ServiceError::Make {
            name: "certificates".to_owned(),
            output: cause.to_string(),
        };
        let authority_key = KeyPair::generate().map_err(refused)?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        authority
            .distinguished_name
            .push(DnType::CommonName, "testbed control plane");
        let certificate = authority.self_signed(&authority_key).map_err(refused)?;
        let issuer = Issuer::new(authority, authority_key);

        let server_key = KeyPair::generate().map_err(refused)?;
        let names = ["127.0.0.1", "10.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let mut server = CertificateParams::new(names).map_err(refused)?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = server.signed_by(&server_key, &issuer).map_err(refused)?;
        write(&folder.join("server.crt"), &server.pem())?;
        write(&folder.join("server.key"), &server_key.serialize_pem())?;

        let accounts = KeyPair::generate().map_err(refused)?;
        write(&folder.join("accounts.key"), &accounts.serialize_pem())?;
        write(&folder.join("accounts.pub"), &accounts.public_key_pem())?;

        let mut tokens = Vec::new();
        let mut file = String::new();
        for (user, groups) in API_USERS.into_iter().zip(["system:masters", "testbed"]) {
            let token = random_token()?;
            file.push_str(&format!("{token},{user},{user},\"{groups}\"\n"));
            tokens.push((user, token));
        }
        write(&folder.join("tokens.csv"), &file)?;
        Ok(Self {
            authority_pem: certificate.pem(),
            tokens,
        })
    }

    /// The authority's certificate.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// The same as a kubeconfig wants it.
    pub fn authority_base64(&self) -> String {
        base64(self.authority_pem.as_bytes())
    }

    /// The token of a user; empty for one that is not known.
    pub fn token(&self, user: &str) -> &str {
        self.tokens
            .iter()
            .find(|(name, _)| *name == user)
            .map_or("", |(_, token)| token)
    }
}

fn random_token() -> Result<String, ServiceError> {
    let mut bytes = [0; 16];
    let path = Path::new("/dev/urandom");
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(ServiceError::file("read", path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0_u32, |group, at| group << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let letter = char::from(LETTERS[(group >> (18 - 6 * at) & 63) as usize]);
            text.push(if at <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn every_user_has_a_token_of_its_own() {
        let folder = crate::RunFolder::make("identity").expect("a folder");
        let identity = Identity::make(folder.path()).expect("an identity");
        let file = std::fs::read_to_string(folder.path().join("tokens.csv")).expect("tokens");
        let [admin, nobody] = API_USERS.map(|user| identity.token(user).to_owned());
        assert_ne!(admin, nobody);
        assert!(file.contains(&admin) && file.contains(&nobody));
    }
}
