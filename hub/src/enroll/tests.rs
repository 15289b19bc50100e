//! Enrolment's cases, on a registry in memory.

#![allow(clippy::unwrap_used)]

use ed25519_dalek::{Signer as _, SigningKey};
use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A registry that forgets at exit and can be told to fail.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Rows>);

#[derive(Default)]
struct Rows {
    tokens: BTreeMap<Digest, TokenRecord>,
    agents: BTreeMap<AgentId, AgentRecord>,
    broken: bool,
}

impl Memory {
    fn rows(&self) -> Result<MutexGuard<'_, Rows>, RegistryError> {
        let rows = self.0.lock().unwrap();
        if rows.broken {
            return Err(RegistryError("the disk is full".to_owned()));
        }
        Ok(rows)
    }

    fn set_broken(&self, broken: bool) {
        self.0.lock().unwrap().broken = broken;
    }
}

impl Registry for Memory {
    fn put_token(&self, hash: &Digest, token: &TokenRecord) -> Result<(), RegistryError> {
        self.rows()?.tokens.insert(*hash, token.clone());
        Ok(())
    }

    fn token(&self, hash: &Digest) -> Result<Option<TokenRecord>, RegistryError> {
        Ok(self.rows()?.tokens.get(hash).cloned())
    }

    fn agent(&self, agent: &AgentId) -> Result<Option<AgentRecord>, RegistryError> {
        Ok(self.rows()?.agents.get(agent).cloned())
    }

    fn agents(&self) -> Result<Vec<AgentRecord>, RegistryError> {
        Ok(self.rows()?.agents.values().cloned().collect())
    }

    fn take_token(
        &self,
        hash: &Digest,
        before: &TokenRecord,
        after: &TokenRecord,
        agent_before: Option<&AgentRecord>,
        agent: &AgentRecord,
    ) -> Result<bool, RegistryError> {
        let mut rows = self.rows()?;
        let unchanged = rows.tokens.get(hash) == Some(before) && rows.agents.get(&agent.agent) == agent_before;
        if unchanged {
            rows.tokens.insert(*hash, after.clone());
            rows.agents.insert(agent.agent.clone(), agent.clone());
        }
        Ok(unchanged)
    }

    fn replace_agent(&self, before: &AgentRecord, after: &AgentRecord) -> Result<bool, RegistryError> {
        let mut rows = self.rows()?;
        let unchanged = rows.agents.get(&after.agent) == Some(before);
        if unchanged {
            rows.agents.insert(after.agent.clone(), after.clone());
        }
        Ok(unchanged)
    }
}

const NOW: Wall = Wall(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

/// A hub's desk with its CA in a temporary folder.
pub(crate) struct Office {
    pub(crate) desk: Arc<Enrollment>,
    pub(crate) ca: Arc<Ca>,
    pub(crate) registry: Arc<Memory>,
    _folder: tempfile::TempDir,
}

pub(crate) fn office(limits: Limits) -> Office {
    let folder = tempfile::tempdir().unwrap();
    let ca = Arc::new(Ca::open_or_create(folder.path(), "test").unwrap());
    let registry = Arc::new(Memory::default());
    let keys = KeyRing::single([9; 32]);
    let desk = Enrollment::new(ca.clone(), registry.clone(), keys, limits).unwrap();
    Office {
        desk: Arc::new(desk),
        ca,
        registry,
        _folder: folder,
    }
}

/// A machine that wants to be, or is, an agent.
pub(crate) struct Machine {
    pub(crate) node_key: SigningKey,
    pub(crate) generation: u64,
    pub(crate) leaf_key: KeyPair,
}

impl Machine {
    pub(crate) fn new(number: u8) -> Self {
        Self {
            node_key: SigningKey::from_bytes(&[number; 32]),
            generation: 0,
            leaf_key: KeyPair::generate().unwrap(),
        }
    }

    pub(crate) fn new_leaf_key(&mut self) {
        self.leaf_key = KeyPair::generate().unwrap();
    }

    pub(crate) fn csr(&self) -> Vec<u8> {
        let request = CertificateParams::default().serialize_request(&self.leaf_key);
        request.unwrap().der().to_vec()
    }

    pub(crate) fn join(&self, token: &JoinToken, name: Option<&str>) -> JoinRequest {
        JoinRequest {
            token: token.clone(),
            name: name.map(str::to_owned),
            node_key: self.node_key.verifying_key().to_bytes(),
            csr: self.csr(),
            program: "test".to_owned(),
        }
    }

    pub(crate) fn renew(&self) -> RenewRequest {
        RenewRequest {
            csr: self.csr(),
            generation: self.generation,
        }
    }

    pub(crate) fn rejoin(&self, agent: &AgentId, challenge: &[u8; 32], exporter: &[u8; 32]) -> RejoinRequest {
        let csr = self.csr();
        let message = [REJOIN_PREFIX, challenge, exporter, &csr].concat();
        RejoinRequest {
            agent: agent.clone(),
            signature: self.node_key.sign(&message).to_bytes().to_vec(),
            csr,
            generation: self.generation,
        }
    }
}

/// `granted GENERATION` or the refusal's name.
fn word(answered: &Answered) -> String {
    match &answered.answer {
        EnrollAnswer::Granted(credentials) => format!("granted {}", credentials.generation),
        EnrollAnswer::Refused { refusal, .. } => format!("{refusal:?}"),
    }
}

fn token(office: &Office, name: Option<&str>) -> JoinToken {
    let name = name.map(|name| AgentId::new(name).unwrap());
    office.desk.create_token(name, "lab", HOUR, NOW).unwrap()
}

fn id(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

fn joined(office: &Office, number: u8) -> Machine {
    let mut machine = Machine::new(number);
    let name = format!("edge-{number}");
    let token = token(office, Some(&name));
    let answered = office.desk.join(&machine.join(&token, None), NOW);
    assert_eq!(word(&answered), "granted 1");
    machine.generation = 1;
    machine
}

#[test]
fn a_token_works_once_and_within_its_time() {
    let office = office(Limits::default());
    let (first, second) = (Machine::new(1), Machine::new(2));
    let good = token(&office, None);
    let check = |machine: &Machine, token: &JoinToken, name, now, expected: &str| {
        let answered = office.desk.join(&machine.join(token, name), now);
        assert_eq!(word(&answered), expected);
    };
    check(&first, &JoinToken([0; 16]), None, NOW, "TokenUnknown");
    check(&first, &good, Some("Bad Name"), NOW, "Malformed");
    check(&first, &good, Some("edge-1"), NOW, "granted 1");
    check(&second, &good, Some("edge-2"), NOW, "TokenUsed");
    let late = token(&office, None);
    check(&second, &late, Some("edge-2"), after(NOW, HOUR + HOUR), "TokenExpired");
    check(&second, &late, Some("edge-1"), NOW, "NameTaken");
    check(&second, &late, None, NOW, "granted 1");
}

#[test]
fn a_tokens_name_and_site_win() {
    let office = office(Limits::default());
    let token = token(&office, Some("edge-7"));
    let answered = office.desk.join(&Machine::new(1).join(&token, Some("root")), NOW);
    let EnrollAnswer::Granted(credentials) = answered.answer else {
        panic!("granted");
    };
    assert_eq!(
        (credentials.agent.as_str(), credentials.site.as_str()),
        ("edge-7", "lab")
    );
    assert_eq!(credentials.ends, after(NOW, Limits::default().leaf_lifetime));
    assert!(matches!(answered.news, Some(Input::Enrolled { agent, .. }) if agent == id("edge-7")));
}

#[test]
fn the_same_machine_whose_answer_was_lost_gets_it_again() {
    let office = office(Limits::default());
    let machine = Machine::new(1);
    let token = token(&office, Some("edge-1"));
    let again = |now| word(&office.desk.join(&machine.join(&token, None), now));
    assert_eq!(again(NOW), "granted 1");
    assert_eq!(again(NOW), "granted 2");
    assert_eq!(again(after(NOW, HOUR + HOUR)), "TokenUsed");
}

#[test]
fn a_full_disk_uses_nothing_up() {
    let office = office(Limits::default());
    let machine = Machine::new(1);
    let token = token(&office, Some("edge-1"));
    office.registry.set_broken(true);
    let join = || word(&office.desk.join(&machine.join(&token, None), NOW));
    assert_eq!(join(), "Unavailable");
    office.registry.set_broken(false);
    assert_eq!(join(), "granted 1");
}

#[test]
fn renewals_count_up_and_a_lost_answer_is_given_again() {
    let office = office(Limits::default());
    let mut machine = joined(&office, 1);
    machine.new_leaf_key();
    let renew = |machine: &Machine| word(&office.desk.renew(&id("edge-1"), &machine.renew(), NOW));
    assert_eq!(renew(&machine), "granted 2");
    assert_eq!(renew(&machine), "granted 2", "the same key again: the answer was lost");
    machine.generation = 2;
    machine.new_leaf_key();
    assert_eq!(renew(&machine), "granted 3");
    assert_eq!(
        word(&office.desk.renew(&id("edge-9"), &machine.renew(), NOW)),
        "AgentUnknown"
    );
    let garbage = RenewRequest {
        csr: vec![1, 2, 3],
        generation: 3,
    };
    assert_eq!(word(&office.desk.renew(&id("edge-1"), &garbage, NOW)), "Malformed");
}

#[test]
fn a_generation_shown_twice_quarantines_both_until_a_person_allows_it() {
    let office = office(Limits::default());
    let mut machine = joined(&office, 1);
    machine.new_leaf_key();
    let mut copy = Machine::new(1);
    copy.generation = 1;
    let renew = |machine: &Machine| office.desk.renew(&id("edge-1"), &machine.renew(), NOW);
    assert_eq!(word(&renew(&machine)), "granted 2");
    let answered = renew(&copy);
    assert_eq!(word(&answered), "Cloned");
    assert!(matches!(answered.news, Some(Input::Denied { reason: Some(_), .. })));
    machine.generation = 2;
    assert_eq!(word(&renew(&machine)), "Denied");
    assert_eq!(word(&renew(&copy)), "Denied");
    assert!(office.desk.denied(&id("edge-1")).unwrap().starts_with("cloned"));
    office.desk.allow(&id("edge-1")).unwrap();
    assert_eq!(office.desk.denied(&id("edge-1")), None);
    machine.new_leaf_key();
    assert_eq!(word(&renew(&machine)), "granted 3");
    assert_eq!(word(&renew(&copy)), "Cloned", "the copy is found again");
}

#[test]
fn a_hub_restored_from_an_older_copy_takes_the_agents_generation() {
    let office = office(Limits::default());
    let mut machine = joined(&office, 1);
    machine.generation = 40;
    assert_eq!(
        word(&office.desk.renew(&id("edge-1"), &machine.renew(), NOW)),
        "granted 41"
    );
}

#[test]
fn the_node_key_rejoins_for_a_limited_number_of_times() {
    let limits = Limits {
        rejoins: 2,
        ..Limits::default()
    };
    let office = office(limits);
    let mut machine = joined(&office, 1);
    let (challenge, exporter) = ([3; 32], [4; 32]);
    let rejoin = |machine: &mut Machine, now| {
        machine.new_leaf_key();
        let request = machine.rejoin(&id("edge-1"), &challenge, &exporter);
        let answered = office.desk.rejoin(&request, &challenge, &exporter, now);
        if let EnrollAnswer::Granted(credentials) = &answered.answer {
            machine.generation = credentials.generation;
        }
        word(&answered)
    };
    let months = after(NOW, HOUR * 24 * 90);
    assert_eq!(rejoin(&mut machine, months), "granted 2");
    assert_eq!(rejoin(&mut machine, months), "granted 3");
    assert_eq!(rejoin(&mut machine, months), "TooOften");
    assert_eq!(rejoin(&mut machine, after(months, HOUR * 25)), "granted 4");
    assert_eq!(office.desk.agents().unwrap()[0].rejoins, 3);
}

#[test]
fn a_rejoin_for_each_life_of_a_certificate_is_allowed() {
    let check = |life_s, rejoins, period_s| {
        let limits = Limits::for_life(Duration::from_secs(life_s));
        let found = (limits.rejoins, limits.rejoin_period.as_secs());
        assert_eq!(found, (rejoins, period_s), "a life of {life_s} s");
    };
    check(24 * 3600, 24, 24 * 3600);
    check(3600, 24, 24 * 3600);
    check(8, 24, 192);
    check(0, 24, 24);
}

#[test]
fn a_rejoin_needs_this_node_key_and_this_very_challenge() {
    let office = office(Limits::default());
    let mut machine = joined(&office, 1);
    machine.new_leaf_key();
    let (challenge, exporter) = ([3; 32], [4; 32]);
    let check = |request: &RejoinRequest, challenge: &[u8; 32], exporter: &[u8; 32], expected: &str| {
        assert_eq!(word(&office.desk.rejoin(request, challenge, exporter, NOW)), expected);
    };
    let good = machine.rejoin(&id("edge-1"), &challenge, &exporter);
    check(&good, &[0; 32], &exporter, "AgentUnknown");
    check(&good, &challenge, &[0; 32], "AgentUnknown");
    let other = RejoinRequest {
        csr: Machine::new(1).csr(),
        ..good.clone()
    };
    check(&other, &challenge, &exporter, "AgentUnknown");
    let mut stranger = Machine::new(2);
    stranger.generation = 1;
    check(
        &stranger.rejoin(&id("edge-1"), &challenge, &exporter),
        &challenge,
        &exporter,
        "AgentUnknown",
    );
    check(
        &machine.rejoin(&id("edge-9"), &challenge, &exporter),
        &challenge,
        &exporter,
        "AgentUnknown",
    );
    office.desk.deny(&id("edge-1"), "stolen").unwrap();
    check(&good, &challenge, &exporter, "Denied");
    office.desk.allow(&id("edge-1")).unwrap();
    check(&good, &challenge, &exporter, "granted 2");
}

#[test]
fn the_deny_set_outlives_the_process() {
    let office = office(Limits::default());
    joined(&office, 1);
    office.desk.deny(&id("edge-1"), "stolen").unwrap();
    let keys = KeyRing::single([9; 32]);
    let next = Enrollment::new(office.ca.clone(), office.registry.clone(), keys, Limits::default()).unwrap();
    assert_eq!(next.denied(&id("edge-1")).as_deref(), Some("stolen"));
    assert!(matches!(
        next.deny(&id("edge-9"), "x"),
        Err(EnrollError::UnknownAgent { .. })
    ));
}

#[test]
fn the_join_line_is_whole() {
    let office = office(Limits::default());
    let line = office.desk.join_line("hub:7443", &JoinToken([0xab; 16]));
    let pin = office.ca.pin();
    assert_eq!(
        line,
        format!(
            "sentinel-agent join hub:7443 --token sjt_{} --ca-pin {pin}",
            "ab".repeat(16)
        )
    );
}
