//! Opens the database, made whole or not at all, and tells what is wrong with one that cannot be opened.
//!
//! A PostgreSQL is given its tables in one transaction. A new file is built under another name, synced, renamed and its folder synced, so that a crash leaves no half-made store.
//! A marker beside the file says that a hub runs; if it is there at start, the last one did not end in an orderly way and every
//! page is checked before the first read.
//!
//! Never repairs by guessing: a damaged store stays as it is, and the error says what to do.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hub_core::Quota;
use redb::{Builder, DatabaseError, StorageError, TableHandle as _};

use super::StoreError;
use super::engine::{Database, Fault, Snapshot, Sorted, Transaction};
use super::postgres::{Pg, PgFault, PostgresAddress};
use super::read::{self, ReadError};
use super::rows::{self, Table, unseal};
use super::tables::{ApplyError, Tables, put};

/// Format of the rows: 2 has documents and the order of arrival, 3 has identities and tokens as documents and knows when and as which
/// one an entry arrived, 4 knows what entries take and what of them was removed.
const FORMAT: u32 = 4;
/// The format before segments were counted.
const BEFORE_QUOTA: u32 = 3;
/// The oldest format that is brought up to date when it is opened.
const BEFORE_DOCUMENTS: u32 = 1;

/// How much telemetry stays, and how many entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of all blocks.
    pub telemetry_bytes: u64,
    /// Age of a block on the hub's own time line: a stepped wall clock drops nothing.
    pub telemetry_age_ms: u64,
    /// Entries of all agents. The hub's own journal, which says who did what, is never cut.
    pub entries: Quota,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            // 50 nodes at 100 B/s for ten hours of charts, on the smallest disk that a hub is put on.
            telemetry_bytes: 256 * 1024 * 1024,
            // A month: what people look back at before they ask a metrics system.
            telemetry_age_ms: 30 * 24 * 3_600_000,
            entries: Quota {
                // Four million entries: 50 nodes that each decide something every minute, for two months.
                bytes: 1024 * 1024 * 1024,
                // A year, and a month to look back at it.
                age_ms: 400 * 24 * 3_600_000,
            },
        }
    }
}

/// Where a store is.
#[derive(Debug, Clone)]
pub enum Place {
    /// A folder, made if missing.
    Folder(PathBuf),
    /// A schema of a PostgreSQL, made if missing.
    Postgres(Box<PostgresAddress>),
}

/// Where the store is and how much it may use.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Where.
    pub place: Place,
    /// Memory for pages, half of it at most for pages that wait to be written. Reads of a fleet's live state never touch the store.
    pub cache_bytes: usize,
    /// How much stays.
    pub retention: Retention,
}

impl StoreSettings {
    /// A store in this folder, with the defaults.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self::at(Place::Folder(folder.into()))
    }

    /// A store at this place, with the defaults.
    pub fn at(place: Place) -> Self {
        Self {
            place,
            // Holds the inner pages of some GiB of segments.
            cache_bytes: 8 * 1024 * 1024,
            retention: Retention::default(),
        }
    }

    /// The database file, or the address of the database.
    pub fn file(&self) -> PathBuf {
        match &self.place {
            Place::Folder(folder) => folder.join(FILE),
            Place::Postgres(address) => address.place().into(),
        }
    }
}

/// The database file, in its folder.
const FILE: &str = "hub.redb";
/// What is beside it while a hub runs.
const MARKER: &str = "running";

/// Opens the store, or makes it. Blocks; after an unclean stop for as long as reading the whole file takes.
pub fn open(settings: &StoreSettings) -> Result<Database, StoreError> {
    match &settings.place {
        Place::Folder(folder) => open_folder(settings, folder),
        Place::Postgres(address) => open_server(address),
    }
}

fn open_server(address: &PostgresAddress) -> Result<Database, StoreError> {
    let place = PathBuf::from(address.place());
    let server = Pg::open(address.clone()).map_err(|cause| unreachable_server(&place, cause))?;
    let is_new = server.is_empty();
    let database = Database::Postgres(server);
    if is_new {
        tracing::info!(place = %place.display(), "making a new store");
        initialise(&database).map_err(not_created)?;
    }
    check_format(&place, &database)?;
    upgrade(&place, &database)?;
    Ok(database)
}

/// Connects again after a fault.
pub fn reopen_server(server: &Pg) -> Result<Database, StoreError> {
    let place = PathBuf::from(server.place());
    let server = server.reopen().map_err(|cause| unreachable_server(&place, cause))?;
    Ok(Database::Postgres(server))
}

fn unreachable_server(place: &Path, cause: PgFault) -> StoreError {
    match cause {
        PgFault::Locked => StoreError::Locked { path: place.to_owned() },
        cause => StoreError::Server {
            place: place.display().to_string(),
            cause: Box::new(cause),
        },
    }
}

fn open_folder(settings: &StoreSettings, folder: &Path) -> Result<Database, StoreError> {
    std::fs::create_dir_all(folder).map_err(io("make folder", folder))?;
    let file = folder.join(FILE);
    if !file.exists() {
        create(settings, &file)?;
    }
    let marker = folder.join(MARKER);
    let database = open_checked(settings, &file, marker.exists())?;
    upgrade(&file, &database)?;
    File::create(&marker)
        .and_then(|marker| marker.sync_all())
        .and_then(|()| sync_folder(folder))
        .map_err(io("write", &marker))?;
    Ok(database)
}

/// Opens it again after a fault, with every page checked.
pub fn reopen(settings: &StoreSettings) -> Result<Database, StoreError> {
    let file = settings.file();
    forget_cached(&file);
    open_checked(settings, &file, true)
}

/// What is read from now on comes from the disk: after a failed sync the system's memory holds what may never have got there.
fn forget_cached(file: &Path) {
    if let Ok(open) = File::open(file) {
        // Advice that is not taken leaves what there was.
        let _ = rustix::fs::fadvise(&open, 0, None, rustix::fs::Advice::DontNeed);
    }
}

/// Closes it in an orderly way, so that the next start need not check every page.
pub fn close(settings: &StoreSettings, database: Database) -> Result<(), StoreError> {
    match (database, &settings.place) {
        (Database::Redb(database), Place::Folder(folder)) => {
            let file = folder.join(FILE);
            database.close().map_err(|cause| translate(&file, cause))?;
            let marker = folder.join(MARKER);
            std::fs::remove_file(&marker)
                .and_then(|()| sync_folder(folder))
                .map_err(io("remove", &marker))
        }
        (Database::Redb(database), Place::Postgres(_)) => {
            database.close().map_err(|cause| translate(&settings.file(), cause))
        }
        (Database::Postgres(server), _) => {
            server.close();
            Ok(())
        }
    }
}

fn not_created(error: ApplyError) -> StoreError {
    match error {
        ApplyError::Refused(error) => error,
        ApplyError::Spoilt(cause) => StoreError::Database {
            action: "be created",
            cause: Box::new(cause),
        },
    }
}

fn create(settings: &StoreSettings, file: &Path) -> Result<(), StoreError> {
    let fresh = file.with_extension("new");
    // Left by a start that was killed half-way; it never held anything.
    if fresh.exists() {
        std::fs::remove_file(&fresh).map_err(io("remove", &fresh))?;
    }
    let database = builder(settings)
        .create(&fresh)
        .map_err(|cause| translate(&fresh, cause))?;
    let database = Database::Redb(database);
    initialise(&database).map_err(not_created)?;
    if let Database::Redb(database) = database {
        database.close().map_err(|cause| translate(&fresh, cause))?;
    }
    std::fs::rename(&fresh, file)
        .and_then(|()| file.parent().map_or(Ok(()), sync_folder))
        .map_err(io("move the new store to", file))
}

/// Makes all tables, so that a store without one is a damaged store.
pub fn initialise(database: &Database) -> Result<(), ApplyError> {
    let transaction = database.begin_write()?;
    {
        let mut tables = Tables::open(&transaction)?;
        put(&mut tables.meta, "meta", b"format", &FORMAT.to_be_bytes())?;
    }
    transaction.flush()?;
    Ok(transaction.commit()?)
}

fn open_checked(settings: &StoreSettings, file: &Path, every_page: bool) -> Result<Database, StoreError> {
    let mut builder = builder(settings);
    builder.set_check_integrity_on_open(every_page);
    guarded(file, || builder.open(file))
}

/// Opens a database on another storage, as the crash tests do.
#[cfg(test)]
pub fn open_backend(backend: impl redb::StorageBackend, every_page: bool) -> Result<Database, StoreError> {
    let mut builder = Builder::new();
    builder.set_cache_size(1024 * 1024);
    builder.set_check_integrity_on_open(every_page);
    guarded(Path::new("memory"), || builder.create_with_backend(backend))
}

fn guarded(file: &Path, open: impl FnOnce() -> Result<redb::Database, DatabaseError>) -> Result<Database, StoreError> {
    // Damaged bytes have made the database library panic; that is an answer about the file, not the end of the process.
    let opened = catch_unwind(AssertUnwindSafe(open)).map_err(|_| StoreError::Damaged {
        path: file.to_owned(),
        detail: "reading it fails badly".to_owned(),
    })?;
    let database = Database::Redb(opened.map_err(|cause| translate(file, cause))?);
    check_format(file, &database)?;
    Ok(database)
}

fn check_format(file: &Path, database: &Database) -> Result<(), StoreError> {
    let damaged = |detail: String| StoreError::Damaged {
        path: file.to_owned(),
        detail,
    };
    let read = database.begin_read().map_err(|cause| damaged(cause.to_string()))?;
    let found = read_format(&read).map_err(|error| match error {
        ReadError::Store(error) => error,
        ReadError::Database(cause) => damaged(cause.to_string()),
    })?;
    let format = found.ok_or_else(|| damaged("it has no format row".to_owned()))?;
    if !(BEFORE_DOCUMENTS..=FORMAT).contains(&format) {
        return Err(StoreError::Format {
            path: file.to_owned(),
            found: format.to_string(),
            known: FORMAT,
        });
    }
    let is_in = |newer: &[Table], table: &Table| newer.iter().any(|newer| newer.name() == table.name());
    let is_newer = |table: &Table| {
        format == BEFORE_DOCUMENTS && is_in(&rows::SINCE_2, table)
            || format <= BEFORE_QUOTA && is_in(&rows::SINCE_4, table)
    };
    for table in rows::ALL.into_iter().filter(|table| !is_newer(table)) {
        // All tables are made before the file gets its name, so one that is missing was lost.
        read.open_table(table).map_err(|cause| damaged(cause.to_string()))?;
    }
    Ok(())
}

/// The format that the file says it has; one that is no number is newer than any.
fn read_format(read: &Snapshot) -> Result<Option<u32>, ReadError> {
    let found = read::setting(read, "format")?;
    Ok(found.map(|bytes| <[u8; 4]>::try_from(&bytes[..]).map_or(u32::MAX, u32::from_be_bytes)))
}

/// Brings an older format to the present one, in one transaction: a crash leaves the older format whole. A program of that format
/// refuses the file from then on.
fn upgrade(file: &Path, database: &Database) -> Result<(), StoreError> {
    let failed = |cause: Fault| StoreError::Database {
        action: "be brought to the present format",
        cause: Box::new(cause),
    };
    let read = database.begin_read().map_err(failed)?;
    let format = read_format(&read)?.unwrap_or(BEFORE_DOCUMENTS);
    drop(read);
    if format == FORMAT {
        return Ok(());
    }
    tracing::info!(file = %file.display(), "bringing the store from format {format} to {FORMAT}");
    let transaction = database.begin_write().map_err(failed)?;
    let result = Tables::open(&transaction)
        .map_err(ApplyError::Spoilt)
        .and_then(|mut tables| tables.bring_up_to_date(&transaction, format))
        .and_then(|()| Ok(transaction.flush()?));
    match result {
        Ok(()) => transaction.commit().map_err(failed),
        Err(ApplyError::Refused(error)) => Err(error),
        Err(ApplyError::Spoilt(cause)) => Err(failed(cause)),
    }
}

impl Tables<'_> {
    fn bring_up_to_date(&mut self, transaction: &Transaction, format: u32) -> Result<(), ApplyError> {
        if format < BEFORE_QUOTA {
            self.order_arrivals(format)?;
            self.adopt_identities(transaction)?;
        }
        self.count_segments()?;
        self.put_counters()?;
        put(&mut self.meta, "meta", b"format", &FORMAT.to_be_bytes())
    }

    /// Before format 2 there was no order of arrival, and the order of the keys becomes it; before 3 a row of it held a key alone.
    fn order_arrivals(&mut self, format: u32) -> Result<(), ApplyError> {
        let mut order: Vec<(u64, Vec<u8>)> = Vec::new();
        if format == BEFORE_DOCUMENTS {
            let keys = self.entries.iter()?.zip(self.counters.arrival + 1..);
            for (row, arrival) in keys {
                order.push((arrival, row?.0.value().to_vec()));
            }
        } else {
            for row in self.feed.iter()? {
                let (arrival, sealed) = row?;
                let key = unseal("feed", arrival.value(), sealed.value())?.to_vec();
                order.push((read::number(arrival.value())?, key));
            }
        }
        for (arrival, key) in &order {
            let entries = match self.entries.get(&key[..])? {
                Some(segment) => rows::open_segment(key, segment.value())?.len() as u64,
                None => 0,
            };
            let row = rows::Arrival {
                key,
                at_ms: 0,
                before: self.counters.entries,
            };
            put(&mut self.feed, "feed", &arrival.to_be_bytes(), &row.row())?;
            self.counters.entries += entries;
            self.counters.arrival = self.counters.arrival.max(*arrival);
        }
        Ok(())
    }
}

/// Makes a closed store what an older format was: without the tables that came since, with an order of arrival that holds keys alone, and
/// with identities in tables of their own.
#[cfg(test)]
pub fn as_format(settings: &StoreSettings, format: u32, identities: &[(Table, Vec<u8>, Vec<u8>)]) {
    let database = open(settings).expect("a store");
    let transaction = database.begin_write().expect("open");
    for table in rows::SINCE_4 {
        transaction.delete_table(table).expect("it was there");
    }
    if format == BEFORE_DOCUMENTS {
        for table in rows::SINCE_2 {
            transaction.delete_table(table).expect("it was there");
        }
    } else if format < BEFORE_QUOTA {
        let mut tables = Tables::open(&transaction).expect("it is there");
        let mut order: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for row in tables.feed.iter().expect("whole") {
            let (arrival, sealed) = row.expect("whole");
            let row = unseal("feed", arrival.value(), sealed.value()).expect("whole");
            let key = rows::Arrival::read(row).expect("a row").key.to_vec();
            order.push((arrival.value().to_vec(), key));
        }
        for (arrival, key) in order {
            put(&mut tables.feed, "feed", &arrival, &key).expect("room");
        }
        drop(tables);
        // Opening all tables has made these again.
        for table in rows::SINCE_4 {
            transaction.delete_table(table).expect("it was there");
        }
    }
    {
        let mut meta = transaction.open_table(rows::META).expect("it is there");
        put(&mut meta, "meta", b"format", &format.to_be_bytes()).expect("room");
        for table in [super::format_2::TOKENS, super::format_2::IDENTITIES] {
            let mut open = transaction.open_table(table).expect("room");
            for (_, key, value) in identities.iter().filter(|(of, ..)| of.name() == table.name()) {
                put(&mut open, table.name(), key, value).expect("room");
            }
        }
        let since: &[&str] = match format {
            BEFORE_QUOTA => &["entry-bytes", "own-bytes", "pruned"],
            _ => &["entries", "entry-bytes", "own-bytes", "pruned"],
        };
        for name in since {
            meta.remove(name.as_bytes()).expect("room");
        }
    }
    transaction.flush().expect("room");
    transaction.commit().expect("room");
    close(settings, database).expect("whole");
}

fn builder(settings: &StoreSettings) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(settings.cache_bytes);
    builder
}

fn translate(file: &Path, cause: DatabaseError) -> StoreError {
    let path = file.to_owned();
    match cause {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::Locked { path },
        DatabaseError::Storage(StorageError::Io(cause))
            if cause.kind() != std::io::ErrorKind::InvalidData && cause.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            StoreError::Io {
                action: "open",
                path,
                cause,
            }
        }
        other => StoreError::Damaged {
            path,
            detail: other.to_string(),
        },
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |cause| StoreError::Io { action, path, cause }
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
