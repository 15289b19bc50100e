//! Clients of other people's HTTPS servers: forges, webhooks, Prometheus, collectors.
//!
//! They trust whom this machine trusts. Where it has no list of CAs at all (an image that stands on nothing, the smallest Debian) they trust
//! Mozilla's list as of the build: without that no client can be made, and a hub that needs none of them would not even start.

use std::sync::LazyLock;

use reqwest::{Certificate, Client, ClientBuilder};

/// Whether this machine has a list of CAs; found out once.
static HAS_LIST: LazyLock<bool> = LazyLock::new(|| {
    let has = Client::builder().build().is_ok();
    if !has {
        tracing::info!(
            "this machine has no list of CAs: servers of others are checked by the one that the hub was built with"
        );
    }
    has
});

/// Begins a client.
pub fn builder() -> ClientBuilder {
    trusting(*HAS_LIST)
}

/// A client as it is usual.
pub fn client() -> Client {
    builder()
        .build()
        .expect("there is a list of CAs, and nothing else was asked for")
}

fn trusting(this_machine: bool) -> ClientBuilder {
    let builder = Client::builder();
    if this_machine {
        return builder;
    }
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    builder.tls_certs_only(roots.filter_map(|der| Certificate::from_der(der).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_be_made_where_there_is_no_list_of_cas() {
        assert!(trusting(false).build().is_ok());
        let parsed = webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .filter_map(|der| Certificate::from_der(der).ok());
        assert!(parsed.count() > 50, "it is Mozilla's list");
    }
}
