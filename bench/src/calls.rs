//! The suite `calls`: what a call through a node costs, against a bare HTTP handler that runs the same
//! statement without anybody's identity, and against `pgbench -M prepared`.
//!
//! Node, bare handler and pgbench are processes of their own; this program only sends requests. All of
//! them share the machine's processors, so that only ratios mean something.

mod bare;
mod cached;
mod load;
mod memory;
mod mutation;
mod pgbench;
mod query;
mod rejected;
mod service;
mod side;

use crate::suite::Entry;
use anyhow::Context;
use tokio_postgres::Client;

/// Every entry, in the order they run and are printed.
pub const ENTRIES: &[Entry] = &[
    query::ENTRY,
    cached::ENTRY,
    mutation::ENTRY,
    rejected::ENTRY,
    memory::ENTRY,
];

pub use bare::serve;

/// Open connections of each measurement.
const LEVELS: [usize; 3] = [1, 32, 256];
/// Rows of the table under test; ten share a group.
const ITEMS: u32 = 100_000;

/// The statements, as the bare handler and pgbench run them; `$1` is an id.
const ONE: &str = "select to_json(i)::text from forge_bench.call_item i where i.id = $1";
const TEN: &str = "select json_agg(i)::text from forge_bench.call_item i where i.group_id = $1";
const ADD: &str = "update forge_bench.call_item set n = n + 1 where id = $1 returning n::text";

/// Makes the table and registers the functions that run the statements.
async fn fixture(client: &Client) -> anyhow::Result<()> {
    client
        .batch_execute(&format!(
            "drop schema if exists forge_bench cascade;
             create schema forge_bench;
             create table forge_bench.call_item (
                 id int primary key, group_id int not null, name text not null, n int not null);
             insert into forge_bench.call_item
                 select id, id / 10, 'item ' || id, 0 from generate_series(0, {ITEMS} - 1) id;
             create index on forge_bench.call_item (group_id);
             create function forge_bench.one(id int) returns forge_bench.call_item language sql stable
                 as $$ select i from forge_bench.call_item i where i.id = one.id $$;
             create function forge_bench.ten(id int) returns setof forge_bench.call_item language sql stable
                 as $$ select i from forge_bench.call_item i where i.group_id = ten.id $$;
             create function forge_bench.add(id int) returns int language sql volatile
                 as $$ update forge_bench.call_item i set n = i.n + 1 where i.id = add.id returning i.n $$;
             grant usage on schema forge_bench to forge_user;
             grant select, update on forge_bench.call_item to forge_user;
             select forge.register_query('bench.one', 'forge_bench.one'),
                    forge.register_query('bench.ten', 'forge_bench.ten'),
                    forge.register_query('bench.cached', 'forge_bench.one', cache_ttl => '1 min'),
                    forge.register_mutation('bench.add', 'forge_bench.add')"
        ))
        .await
        .context("the functions under test cannot be made")?;
    client
        .batch_execute("vacuum (analyze) forge_bench.call_item")
        .await
        .context("vacuum failed")
}
