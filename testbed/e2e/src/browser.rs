//! A real Chromium, driven over WebDriver by its own driver.
//!
//! WebDriver (W3C) is JSON over HTTP; the few calls that are needed here are written out.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::PATIENCE;

/// One window.
pub struct Browser {
    driver: Child,
    session: String,
}

impl Browser {
    /// Starts the driver and a headless window of this size that accepts the hub's own CA.
    pub fn start(width: u32, height: u32) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed: `cargo xtask setup` does it");
        let stdout = driver.stdout.take().expect("it was asked for a pipe");
        let port = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, rest) = line.split_once("started successfully on port ")?;
                rest.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver says its port");
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
        };
        let answer = browser.post(
            "",
            json!({"capabilities": {"alwaysMatch": {
                "acceptInsecureCerts": true,
                "goog:chromeOptions": {"args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    format!("--window-size={width},{height}"),
                ]},
            }}}),
        );
        let id = answer["sessionId"].as_str().expect("a session has an id").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url }));
    }

    /// Opens a page in a new tab, and turns to it.
    pub fn tab(&self, url: &str) {
        let tab = self.post("/window/new", json!({"type": "tab"}));
        self.post("/window", json!({"handle": tab["handle"]}));
        self.open(url);
    }

    /// Closes every tab but the first, and turns to that.
    pub fn close_tabs(&self) {
        let handles = self.get("/window/handles");
        let handles = handles.as_array().cloned().unwrap_or_default();
        for handle in handles.iter().skip(1) {
            self.post("/window", json!({ "handle": handle }));
            drop(ureq::delete(format!("{}/window", self.session)).call());
        }
        self.post("/window", json!({"handle": handles.first()}));
    }

    /// Runs a script in the page and returns what it returns.
    pub fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }

    /// Runs a script that calls `done` with a value when it has one, and returns that value.
    pub fn eventually(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; {script}");
        self.post("/execute/async", json!({"script": script, "args": []}))
    }

    /// The text that the page shows.
    pub fn text(&self) -> String {
        self.script("return document.body ? document.body.innerText : ''")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until the shown text fulfils `check`, and returns it.
    pub fn until(&self, what: &str, check: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if check(&text) {
                return text;
            }
            assert!(
                Instant::now() < deadline,
                "the page does not show {what}; it shows:\n{text}"
            );
            // Waits inside the page for its next change, a fifth of a second at most.
            self.post(
                "/execute/async",
                json!({"script": "const done = arguments[0]; const o = new MutationObserver(() => { o.disconnect(); done(); }); \
                    o.observe(document, {subtree: true, childList: true, characterData: true}); setTimeout(() => { o.disconnect(); done(); }, 200);",
                    "args": []}),
            );
        }
    }

    /// Clicks the first element that this CSS selector finds.
    pub fn click(&self, selector: &str) {
        let found = self.post("/element", json!({"using": "css selector", "value": selector}));
        let id = found
            .as_object()
            .and_then(|object| object.values().next())
            .and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("no element `{selector}`: {found}"));
        self.post(&format!("/element/{id}/click"), json!({}));
    }

    /// What the page logged as errors since it was opened.
    pub fn errors(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({"type": "browser"}));
        let rows = log.as_array().cloned().unwrap_or_default();
        rows.iter()
            .filter(|row| row["level"] == "SEVERE")
            .map(|row| row["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    fn get(&self, path: &str) -> Value {
        let mut response = ureq::get(format!("{}{path}", self.session))
            .call()
            .unwrap_or_else(|cause| panic!("WebDriver {path}: {cause}"));
        let answer: Value = response
            .body_mut()
            .read_json()
            .unwrap_or_else(|cause| panic!("WebDriver {path}: {cause}"));
        answer["value"].clone()
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let mut response = ureq::post(format!("{}{path}", self.session))
            .config()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .send_json(&body)
            .unwrap_or_else(|cause| panic!("WebDriver {path}: {cause}"));
        let answer: Value = response
            .body_mut()
            .read_json()
            .unwrap_or_else(|cause| panic!("WebDriver {path}: {cause}"));
        assert!(answer["value"]["error"].is_null(), "WebDriver {path}: {answer}");
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(ureq::delete(&self.session).call());
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}
