//! Everything works without `shared_preload_libraries`, and `forge.status()` says what it costs.

use forge_tests::ClusterOptions;

use crate::stage::{Stage, own_cluster};

#[test]
fn jobs_and_schedules_without_preload() {
    let cluster = own_cluster(ClusterOptions {
        preload: false,
        ..ClusterOptions::default()
    });
    let mut stage = Stage::on(&cluster);
    stage.start_nodes(2, |node| node);
    assert!(
        stage
            .value::<bool>("SELECT NOT (forge.status() ->> 'preload')::boolean")
            .unwrap()
    );
    assert!(
        stage
            .value::<bool>("SELECT forge.status() ->> 'warnings' LIKE '%shared_preload_libraries%'")
            .unwrap()
    );
    stage
        .run(
            "CREATE TABLE public.effect (n int);
             CREATE FUNCTION public.work(n int DEFAULT -1) RETURNS void LANGUAGE sql AS 'INSERT INTO public.effect VALUES (n)';
             SELECT forge.register_job('work', 'sql:public.work');
             SELECT forge.register_job('limited', 'sql:public.work', max_concurrency => 1);
             SELECT forge.schedule('second', '* * * * * *', 'work');
             SELECT count(*) FROM forge.enqueue_many('work', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 2000) n));
             SELECT count(*) FROM forge.enqueue_many('limited', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(2001, 2020) n));
             SELECT forge.enqueue('work', '{\"n\": 2021}', delay => '1 s');",
        )
        .unwrap();
    stage
        .until("SELECT count(*) = 2021 AND count(DISTINCT n) = 2021 FROM public.effect WHERE n > 0")
        .unwrap();
    stage
        .until("SELECT count(*) >= 2 FROM public.effect WHERE n = -1")
        .unwrap();
    let counts = "SELECT ready + scheduled + running + retrying + dead FROM forge.queues WHERE queue = 'default'";
    stage.run("SELECT forge.unschedule('second')").unwrap();
    stage.until(&format!("({counts}) = 0")).unwrap();
}
