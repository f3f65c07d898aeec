//! Direct access to Forge's append-only tables: bulk appends and index scans without a planner in between, so that
//! the hot path does not depend on statistics.
//!
//! The tables have no triggers, defaults, checks or foreign keys that an append would have to honour.
//! Day tables are inheritance children named `PARENT_YYYYMMDD`; rows whose day has no table live in the parent.

use crate::pg::extra;
use crate::pg::function::Value;
use crate::pg::snapshot::Snapshot;
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::CString;

/// An index condition: column number (from 1), operator, value.
#[derive(Clone, Copy)]
pub struct Key {
    pub column: i16,
    pub operator: Operator,
    pub value: Datum,
}

/// Operators of index conditions with the function that implements each.
#[derive(Clone, Copy)]
pub enum Operator {
    Int4Eq,
    Int8Eq,
    Int8Gt,
    Int8Le,
    UuidEq,
}

impl Operator {
    /// B-tree strategy number and the oid of the built-in function (fixed in every Postgres version).
    fn strategy(self) -> (u16, u32) {
        match self {
            Self::Int4Eq => (3, 65),
            Self::Int8Eq => (3, 467),
            Self::Int8Gt => (5, 470),
            Self::Int8Le => (2, 471),
            Self::UuidEq => (3, 2956),
        }
    }
}

/// Table names have no prefix; they live in `forge_private`.
pub fn oid(name: &str) -> Option<Oid> {
    let name = CString::new(name).ok()?;
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"forge_private".as_ptr(), true);
        let oid = pg_sys::get_relname_relid(name.as_ptr(), schema);
        (oid != Oid::INVALID).then_some(oid)
    }
}

/// The table that holds rows of `day` (days since 2000-01-01): its day table, or the parent when there is none.
pub fn oid_of_day(parent: &str, day: i32) -> Oid {
    oid(&day_table(parent, day))
        .or_else(|| oid(parent))
        .unwrap_or_else(|| missing(parent))
}

fn missing(name: &str) -> ! {
    crate::error::fail(
        "ZF011",
        format!("table forge_private.{name} does not exist"),
        "Install the extension in this database: CREATE EXTENSION forge.",
    )
}

/// Name of a day's table.
pub fn day_table(parent: &str, day: i32) -> String {
    let date = jiff::civil::date(2000, 1, 1)
        .checked_add(jiff::Span::new().days(i64::from(day)))
        .unwrap_or(jiff::civil::date(2000, 1, 1));
    format!(
        "{parent}_{:04}{:02}{:02}",
        date.year(),
        date.month(),
        date.day()
    )
}

/// The parent and all its day tables.
pub fn family(parent: &str) -> Vec<Oid> {
    let parent = oid(parent).unwrap_or_else(|| missing(parent));
    let mut all = vec![parent];
    all.extend(extra::inheritance_children(parent));
    all
}

/// An open table.
pub struct Table {
    rel: pg_sys::Relation,
    natts: usize,
}

impl Table {
    /// Opens for reading; `None` when the table has been dropped meanwhile.
    pub fn read(oid: Oid) -> Option<Self> {
        Self::open(oid, pg_sys::AccessShareLock as i32)
    }

    /// Opens for appending; `None` when the table has been dropped meanwhile. Raises in a read-only transaction.
    pub fn write(oid: Oid) -> Option<Self> {
        unsafe { pg_sys::PreventCommandIfReadOnly(c"a change of Forge's tables".as_ptr()) };
        Self::open(oid, pg_sys::RowExclusiveLock as i32)
    }

    fn open(oid: Oid, lock: i32) -> Option<Self> {
        unsafe {
            let rel = pg_sys::try_relation_open(oid, lock);
            (!rel.is_null()).then(|| Self {
                rel,
                natts: (*(*rel).rd_att).natts as usize,
            })
        }
    }

    /// Whether nothing was ever written since the table was last truncated.
    pub fn has_no_pages(&self) -> bool {
        unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(self.rel, pg_sys::ForkNumber::MAIN_FORKNUM) == 0
        }
    }

    /// Appends rows; each has exactly one value per column. Makes them visible to later commands of this transaction.
    pub fn append(&self, rows: &[Vec<Value>]) {
        const CHUNK: usize = 500;
        if rows.is_empty() {
            return;
        }
        unsafe {
            extra::keep_freed_memory();
            let estate = pg_sys::CreateExecutorState();
            let info =
                pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            (*info).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(info, self.rel, 1, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(info, false);
            // A copy is not counted as a reference by the resource owner, slot for slot.
            let desc = pg_sys::CreateTupleDescCopy((*self.rel).rd_att);
            let slots: Vec<*mut pg_sys::TupleTableSlot> = (0..rows.len().min(CHUNK))
                .map(|_| pg_sys::MakeSingleTupleTableSlot(desc, &pg_sys::TTSOpsVirtual))
                .collect();
            let cid = pg_sys::GetCurrentCommandId(true);
            for chunk in rows.chunks(CHUNK) {
                for (row, &slot) in chunk.iter().zip(&slots) {
                    debug_assert_eq!(row.len(), self.natts);
                    for (i, value) in row.iter().enumerate() {
                        *(*slot).tts_values.add(i) = value.unwrap_or(Datum::from(0usize));
                        *(*slot).tts_isnull.add(i) = value.is_none();
                    }
                }
                extra::insert_slots(self.rel, info, estate, &slots[..chunk.len()], cid);
            }
            for slot in slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::ExecCloseIndices(info);
            pg_sys::FreeExecutorState(estate);
            pg_sys::CommandCounterIncrement();
        }
    }

    fn index(&self, leading: i16) -> pg_sys::Relation {
        unsafe {
            for oid in extra::oids(pg_sys::RelationGetIndexList(self.rel)) {
                let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
                if (*(*index).rd_index).indkey.values.as_slice(1)[0] == leading {
                    return index;
                }
                pg_sys::index_close(index, pg_sys::AccessShareLock as i32);
            }
        }
        crate::error::fail(
            "ZF011",
            "an index of forge_private is missing",
            "Restore the schema forge_private as the extension made it.",
        )
    }

    /// Walks the index that leads with table column `leading` forward over the rows that satisfy `keys` and are visible,
    /// until `visit` answers false. Values are valid during the visit only. Indexes are told by their columns: a
    /// restored dump makes them in another order.
    pub fn scan(
        &self,
        leading: i16,
        keys: &[Key],
        snapshot: &Snapshot,
        mut visit: impl FnMut(&[Value]) -> bool,
    ) {
        unsafe {
            let index_rel = self.index(leading);
            let slot = pg_sys::table_slot_create(self.rel, std::ptr::null_mut());
            let mut scan_keys: Vec<pg_sys::ScanKeyData> = vec![std::mem::zeroed(); keys.len()];
            for (key, out) in keys.iter().zip(&mut scan_keys) {
                let (strategy, function) = key.operator.strategy();
                pg_sys::ScanKeyInit(
                    out,
                    key.column,
                    strategy,
                    Oid::from_u32(function),
                    key.value,
                );
            }
            let scan = begin_scan(self.rel, index_rel, snapshot.raw(), keys.len() as i32);
            pg_sys::index_rescan(
                scan,
                scan_keys.as_mut_ptr(),
                keys.len() as i32,
                std::ptr::null_mut(),
                0,
            );
            let mut values = vec![None; self.natts];
            while pg_sys::index_getnext_slot(
                scan,
                pg_sys::ScanDirection::ForwardScanDirection,
                slot,
            ) {
                if ((*slot).tts_nvalid as usize) < self.natts {
                    pg_sys::slot_getsomeattrs_int(slot, self.natts as i32);
                }
                for (i, value) in values.iter_mut().enumerate() {
                    *value = (!*(*slot).tts_isnull.add(i)).then(|| *(*slot).tts_values.add(i));
                }
                if !visit(&values) {
                    break;
                }
            }
            pg_sys::index_endscan(scan);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::index_close(index_rel, pg_sys::AccessShareLock as i32);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // The lock stays to the end of the transaction; after an error the resource owner closes the relation.
        if !std::thread::panicking() {
            unsafe { pg_sys::relation_close(self.rel, pg_sys::NoLock as i32) }
        }
    }
}

#[cfg(not(feature = "pg18"))]
unsafe fn begin_scan(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    unsafe { pg_sys::index_beginscan(heap, index, snapshot, keys, 0) }
}

#[cfg(feature = "pg18")]
unsafe fn begin_scan(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    unsafe { pg_sys::index_beginscan(heap, index, snapshot, std::ptr::null_mut(), keys, 0) }
}
