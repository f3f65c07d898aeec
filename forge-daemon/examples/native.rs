//! A node with a Rust handler of its own.
//!
//! ```sh
//! FORGE_DATABASE__URL=postgres://forge_daemon@127.0.0.1/app cargo run -p forge-daemon --example native
//! ```
//! ```sql
//! SELECT forge.register_job('greet', 'native:greet');
//! SELECT forge.enqueue('greet', '{"name": "Ada"}');
//! SELECT state, result FROM forge.jobs WHERE kind = 'greet';   -- completed, {"hello": "Ada"}
//! ```
use forge_daemon::{Forge, Job};
use serde_json::json;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    Forge::builder()
        .native("greet", |job: Job| async move {
            Ok(json!({ "hello": job.args["name"] }))
        })
        .run()
        .await
}
