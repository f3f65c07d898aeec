-- Tells Forge which functions the world may call, and at which addresses. Running this file twice changes nothing.

-- Queries run read-only.
SELECT forge.register_query(name, name, description => description)
FROM (VALUES
    ('conduit.get_user',      'The user who is logged in, with the token of this call'),
    ('conduit.get_profile',   'A user as others see them'),
    ('conduit.list_articles', 'Articles by tag, author or whose favorites they are, newest first'),
    ('conduit.feed_articles', 'Articles of the people the caller follows, newest first'),
    ('conduit.get_article',   'One article'),
    ('conduit.list_comments', 'Comments of an article'),
    ('conduit.list_tags',     'The tags used most')
) query(name, description);

-- Mutations run serializable and again when they collide: checking that a name is free and taking it needs no lock.
SELECT forge.register_mutation(name, name, description => description)
FROM (VALUES
    ('conduit.update_user',        'Changes the user who is logged in'),
    ('conduit.follow_profile',     'Follows a user'),
    ('conduit.unfollow_profile',   'No longer follows a user'),
    ('conduit.create_article',     'Writes an article'),
    ('conduit.update_article',     'Changes an article of one''s own'),
    ('conduit.delete_article',     'Deletes an article of one''s own'),
    ('conduit.favorite_article',   'Counts an article among one''s favorites'),
    ('conduit.unfavorite_article', 'No longer does'),
    ('conduit.create_comment',     'Comments on an article'),
    ('conduit.delete_comment',     'Deletes a comment of one''s own')
) mutation(name, description);

-- Guessing passwords, and making users by the thousand, is slow.
SELECT forge.register_mutation('conduit.register_user', 'conduit.register_user', rate_limit => '120/minute per ip',
                               description => 'Makes a user and logs them in');
SELECT forge.register_mutation('conduit.login_user', 'conduit.login_user', rate_limit => '120/minute per ip',
                               description => 'Logs a user in: answers a token');

SELECT forge.register_route(method, path, function)
FROM (VALUES
    ('POST',   '/api/users',                         'conduit.register_user'),
    ('POST',   '/api/users/login',                   'conduit.login_user'),
    ('GET',    '/api/user',                          'conduit.get_user'),
    ('PUT',    '/api/user',                          'conduit.update_user'),
    ('GET',    '/api/profiles/{username}',           'conduit.get_profile'),
    ('POST',   '/api/profiles/{username}/follow',    'conduit.follow_profile'),
    ('DELETE', '/api/profiles/{username}/follow',    'conduit.unfollow_profile'),
    ('GET',    '/api/articles',                      'conduit.list_articles'),
    ('POST',   '/api/articles',                      'conduit.create_article'),
    ('GET',    '/api/articles/feed',                 'conduit.feed_articles'),
    ('GET',    '/api/articles/{slug}',               'conduit.get_article'),
    ('PUT',    '/api/articles/{slug}',               'conduit.update_article'),
    ('DELETE', '/api/articles/{slug}',               'conduit.delete_article'),
    ('POST',   '/api/articles/{slug}/favorite',      'conduit.favorite_article'),
    ('DELETE', '/api/articles/{slug}/favorite',      'conduit.unfavorite_article'),
    ('GET',    '/api/articles/{slug}/comments',      'conduit.list_comments'),
    ('POST',   '/api/articles/{slug}/comments',      'conduit.create_comment'),
    ('DELETE', '/api/articles/{slug}/comments/{id}', 'conduit.delete_comment'),
    ('GET',    '/api/tags',                          'conduit.list_tags')
) route(method, path, function);
