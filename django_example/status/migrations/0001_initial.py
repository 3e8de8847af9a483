"""The tables, as `manage.py makemigrations` has written it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.CreateModel(
            name="Address",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "url",
                    models.CharField(
                        error_messages={"unique": "This address is on the board already."},
                        max_length=500,
                        unique=True,
                        verbose_name="address",
                    ),
                ),
                (
                    "demo",
                    models.CharField(
                        editable=False, max_length=50, null=True, unique=True, verbose_name="path"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "addresses",
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("name", models.CharField(max_length=20, primary_key=True, serialize=False)),
                ("owner", models.CharField(max_length=50)),
                ("expires", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Check",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("status", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("error", models.TextField(blank=True)),
                (
                    "latency_ms",
                    models.FloatField(blank=True, null=True, verbose_name="latency (ms)"),
                ),
                ("reused", models.BooleanField(verbose_name="connection reused")),
                (
                    "address",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="checks",
                        to="status.address",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["address", "id"], name="checks_by_address")],
            },
        ),
    ]
